"""pgmend's repair and undo measured beside set-based SQL that a person would write by hand.

Both work on copies of one database; what they leave is compared, row by row.
"""

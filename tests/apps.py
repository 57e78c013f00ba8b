"""A recipe of one table, for tests of what is around a recipe."""

from __future__ import annotations

#: to which a test adds what it is about
APP = """
format = 1
name = "app"
title = "An app"

[schema]
tables = ["things"]

[[index]]
name = "things_name"
table = "things"
key = ["name"]

[[step]]
id = "things"
table = "things"
index = "things_name"
case = [{ keep = ["oldest"] }]

[before]
alone = true
"""

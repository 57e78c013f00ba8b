"""pgmend measured beside a floor and a peer, on a server and tables of its own.

Everything is used as a user would: the command as a child process, and of the
library what it exports.
"""

"""Declare: the administrator's file, and what it gives to one server of one user. Pure, but for reading the file."""

"""Let a team's own test suite ask both implementations at once: the pytest fixture ``parity``.

plugin.py       options, marker and fixtures; loaded by every pytest run, so it imports next to nothing
sides.py        both implementations of a table, in this process, each in an environment of its own
answering.py    what one implementation did with one request
parity.py       the fixture's object: sends, compares, complains
complaint.py    the words of a failed comparison
"""

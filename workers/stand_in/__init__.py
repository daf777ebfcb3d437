"""A stand-in for the social platforms, for trials and tests: it answers as they do, fails as they fail, and counts.

It is a server of the standard library's, one thread a connection, because a test has to break connections off at a
given point, before or after the effect; a framework keeps sockets to itself. It imports nothing of the other rooms.
"""

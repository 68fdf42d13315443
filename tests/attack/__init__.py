"""An attack on everything that reads what others send: generators of hostile input, and a judge of what becomes of it.

Some of each kind in every run of the tests (test_attack.py); for long by `make attack`, see __main__.py.
"""

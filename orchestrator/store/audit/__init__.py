"""The audit: proves from the records that nothing is lost, stuck or left over, and changes nothing.

`looking` reads and asks again, `runs` and `messages` say what must stand where, `ledger` knows what was accepted,
`auditor` goes through all of it.
"""

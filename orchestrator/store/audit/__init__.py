"""The audit: proves from the records that nothing is lost, stuck or left over, and changes nothing.

`auditor` goes through all of it. `looking` reads, and asks again; `runs`, `run_entries` and `messages` say what must
stand where; `ledger` reads what was accepted, `accounts` holds it against what is there; `report` is what comes out.
"""

"""Everything that speaks SQL.

Whoever locks several things in one transaction takes them in the order of docs/adr/0016-one-lock-order.md:
`tests/integration/storage/test_conflicts.py` holds it. A function that is one transaction has
`storage.conflicts.rerun_on_conflict`.
"""

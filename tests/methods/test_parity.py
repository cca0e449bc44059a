"""Every method against golden vectors computed with its authors' code, in both executions.

The reference execution does so before a release; the contract test compares both executions in float64 in every test run.
"""


def test_every_fact_of_a_file_is_ours(golden_part, execution):
    golden_part.run(execution)

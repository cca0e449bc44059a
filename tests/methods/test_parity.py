"""Every method against golden vectors computed with its authors' code, in both executions.

Of each method the reference execution does one case in every test run, and the others before a release: the fast execution does
them all in every run, and the contract test compares both executions in float64.
"""


def test_every_fact_of_a_file_is_ours(golden_part, execution):
    golden_part.run(execution)

"""The answers of a suite's runs on the demo world."""


def test_base2new(suite_benchmark):
    """Methods that differ in what they train: nothing, prompts, an adapter, blocks on features; two epochs where they do."""
    methods = ["zero_shot", "coop", "clip_adapter", "skip_tuning"]
    suite_benchmark("base2new", methods, ["demo-digits"], settings={"epochs": "2"})

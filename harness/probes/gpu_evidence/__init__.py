"""What only a GPU can show, as one command: ``python -m harness.probes.gpu_evidence``.

Sections in order of worth, each within a budget of seconds; what a file of results has is not measured again. ``--rehearse`` does
all of it on a CPU with tiny sizes, so that the command works when a GPU is there for some minutes only.
"""

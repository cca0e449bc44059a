"""The engine of AdaptBench: the words suites, methods and reports are written in, the loop, the clock and the meters.

Importing this package costs nothing; torch is imported only by the modules that run something.
"""

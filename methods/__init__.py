"""Methods: how to adapt a backbone. One folder per method: the paper, its hyper-parameters and its recipes, readable without torch.

The arithmetic of each is in its folder's `model.py`; what several share has an underscore.
"""

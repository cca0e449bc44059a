"""Methods: how to adapt a backbone. One file a method: the paper, its hyper-parameters and its recipes, readable without torch.

The arithmetic of each is in the file of the same name in `methods.models`.
"""

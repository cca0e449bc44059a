"""What the fork server imports once, so that a run's process starts with it. Nothing here may touch CUDA or start threads."""

import atexit
import gc
import os
import sys

import torch  # noqa: F401

import harness.runs.runner  # noqa: F401
from harness.clip.backbone import clip_tokenizer
from harness.runs.worker_process import SAFE_PATH

if os.environ.get(SAFE_PATH[0]) == SAFE_PATH[1]:
    del os.environ[SAFE_PATH[0]]  # it was for the fork server alone, not for what runs start

clip_tokenizer()
gc.collect()
gc.enable()
gc.freeze()  # a run's own collections need not look through all of torch, nor the server's at its end
if "triton" in sys.modules:  # of the compiler's, which calls leaked what isn't looked through then
    atexit.register(gc.unfreeze)

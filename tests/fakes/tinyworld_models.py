"""The models of `tinyworld`'s methods."""

import ctypes
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from harness.method import AdaptedModel, Read, cosine_logits

CALLS = []


class MisbehavingModel(AdaptedModel):
    """A trainable factor on image features."""

    def __init__(self, backbone, how):
        super().__init__(backbone)
        self.how = how
        self.epoch = 0
        self.factor = nn.Parameter(torch.ones(backbone.embed_width))

    def set_classes(self, classes):
        self.tokens = self.backbone.text.tokenize(self.backbone.prompts(classes.template("clip"), classes.names))

    def begin_epoch(self, epoch):
        self.epoch = epoch

    @torch.no_grad()
    def classifier(self):
        return F.normalize(self.backbone.text.encode(self.tokens), dim=-1)

    def logits(self, images, classifier):
        return cosine_logits(self.backbone.logit_scale, images * self.factor, classifier)

    def loss(self, batch):
        loss = F.cross_entropy(self.logits(batch.images, self.classifier()), batch.labels)
        return self.misbehave(loss) if self.epoch == 1 else loss

    def misbehave(self, loss):
        if os.environ.get("TINYWORLD_WELL"):
            return loss
        if self.how == "exit":
            os._exit(7)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "segfault":
            ctypes.string_at(0)
        if self.how == "hang":
            time.sleep(600)
        if self.how == "hold the lock":  # Python's: no thread and no signal handler of this process runs any more
            Path("holding").touch()
            ctypes.PyDLL(None).sleep(600)
        if self.how == "diverge":
            return loss * float("nan")
        if self.how == "out of memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nsecond line")
        if self.how == "no host memory":
            raise MemoryError
        if self.how == "no tensor memory":
            torch.empty(1 << 58, dtype=torch.uint8)
        if self.how == "ignore TERM":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        if self.how == "sys.exit":
            raise SystemExit(3)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "no gradient":
            return loss.detach()
        if self.how == "frozen":
            self.backbone.model.visual.proj.data.mul_(1.01)
        if self.how == "defaults":
            torch.set_default_dtype(torch.float64)
        if self.how == "vector":
            return loss.expand(4)
        if self.how == "chatter":
            print("chatter " * (4_000_000 // 8))
        if self.how == "leak":
            CALLS.append(bytearray(50_000_000))
        if self.how in ("leave a process", "abandon a process"):
            with Path("left-behind").open("a") as file:
                print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, file=file)
        if self.how == "abandon a process":
            os._exit(7)
        if self.how == "fill the disk":
            with suppress(OSError), Path(os.environ["TINYWORLD_FILLS"]).open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        if self.how == "seeds":
            torch.manual_seed(7)
        if self.how == "bug":
            raise ValueError("an odd value")
        return loss


class ScriptedModel(MisbehavingModel):
    """Notes each call, and what it came with."""

    reads = (Read("features"), Read(1))

    def __init__(self, backbone, method):
        super().__init__(backbone, "nothing")
        self.method = method
        self.note("adapt")

    def note(self, *what):
        if self.method.note:
            CALLS.append(what if len(what) > 1 else what[0])

    def set_classes(self, classes):
        self.note("set_classes", classes.names)
        super().set_classes(classes)

    def prepare(self, train, val):
        self.note("prepare", len(train.labels), len(val.labels))

    def begin_epoch(self, epoch):
        self.note("begin_epoch", epoch)

    def batches(self, labels, batch_size, rng):
        self.note("batches", len(labels), batch_size)
        return super().batches(labels, batch_size, rng)

    def backward(self, batch, scaler):
        self.note("backward", tuple(tuple(i.shape) for i in batch.inputs), len(batch.labels))
        return super().backward(batch, scaler)

    def end_epoch(self, epoch, epochs):
        self.note("end_epoch", epoch, epochs)

    def finish(self, train, val):
        self.note("finish", len(train.labels), len(val.labels))

    def classifier(self):
        if not torch.is_grad_enabled():
            self.note("classifier")
        return super().classifier()

    def logits(self, images, classifier):
        if not torch.is_grad_enabled():
            self.note("logits", len(images))
        return super().logits(images, classifier)

"""The processes of one run, as ``torchrun`` starts them; alone without it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1


ALONE = Place()


def join() -> Place:
    """The place that ``torchrun`` gives this process, the only one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    return Place(int(os.environ.get("RANK", "0")), size)


def leave() -> None:
    """Leave the other processes at the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def share_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients, in one message."""
    if dist.is_initialized():
        gradients = [p.grad for p in parameters if p.grad is not None]
        add_up(gradients)
        torch._foreach_div_(gradients, dist.get_world_size())  # what torch's optimisers call


def add_up(tensors: Sequence[Tensor]) -> None:
    """Give every process the sum over the processes of each tensor, in one message."""
    if dist.is_initialized() and tensors:
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(message)
        parts = torch.split(message, [tensor.numel() for tensor in tensors])
        for tensor, summed in zip(tensors, parts, strict=True):
            tensor.copy_(summed.view_as(tensor))


def all_say(number: int) -> list[int]:
    """What every process says, by rank."""
    if not dist.is_initialized():
        return [number]
    said = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(said, torch.tensor([number]))
    return [int(one.item()) for one in said]


def first_says(*, word: bool) -> bool:
    """What the first process says, so that all of them stop at the same step."""
    if not dist.is_initialized():
        return word
    said = torch.tensor([int(word)])
    dist.broadcast(said, src=0)
    return bool(said.item())

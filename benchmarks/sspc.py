"""Tables about SSPC: quality in and out of domain, and the time of its parts.

    python benchmarks/sspc.py quality [--seeds 5] [--sets omniglot mfeat] [--weights kept raw ema] [--ablations]
    python benchmarks/sspc.py sinkhorn [--rows 5716] [--anchors 64] [--threads 2]
    python benchmarks/sspc.py step [--device cuda] [--steps 5] [--threads 2]

Quality: training on some classes (omniglot: three alphabets; mfeat: digits 0-6), retrieval of instances among test rows
of those classes and among test rows of the others (two alphabets; digits 7-9), mean over the ordered pairs of
modalities. Every table says what it ran on. Test rows are read once for each number that is printed.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, before torch is imported

import torch
from drcl_speed import machine
from sspc_quality import SETS, print_quality
from sspc_speed import print_sinkhorn
from sspc_step import print_step

from xfeat.methods.settings import read_settings
from xfeat.training.device import find_device

TABLES = ("quality", "sinkhorn", "step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--weights", nargs="+", choices=("kept", "raw", "ema"), default=["raw", "ema"])
    parser.add_argument("--ablations", action="store_true", help="K, required, eps, beta, projected anchors besides")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="KEY=VALUE", help="of every variant")
    parser.add_argument("--rows", type=int, default=5716, help="of sinkhorn: 216 of a batch, 5,500 of its queue")
    parser.add_argument("--anchors", type=int, default=64, help="of sinkhorn")
    parser.add_argument("--repeats", type=int, default=7, help="of sinkhorn")
    parser.add_argument("--device", default="cpu", help="of step")
    parser.add_argument("--steps", type=int, default=5, help="of step")
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    print(f"python benchmarks/sspc.py {shlex.join(sys.argv[1:])}")
    device = find_device(o.device) if o.table == "step" else torch.device("cpu")
    print(f"machine: {machine(device)}\n")
    if o.table == "quality":
        given = read_settings(None, o.settings)
        print_quality(o.data, o.sets, list(range(o.seeds)), o.weights, given, ablations=o.ablations)
    elif o.table == "step":
        print_step(device, o.steps)
    else:
        print_sinkhorn(o.rows, o.anchors, o.repeats)


if __name__ == "__main__":
    main()

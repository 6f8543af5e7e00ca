"""Tables about DRCL: quality, speed, memory, and behaviour on data of other shapes.

    python benchmarks/drcl.py quality [--seeds 10] [--sets wikipedia mfeat digits]
    python benchmarks/drcl.py reference | shapes [--seeds 3]
    python benchmarks/drcl.py epoch | seeds | size | stream | masks

Every table says what it ran on. Test rows are read once for each number that is printed.
"""

import argparse
import os
from pathlib import Path

import torch
from drcl_quality import ABLATIONS, print_quality, print_reference
from drcl_seeds import print_masks, print_seeds, print_sizes
from drcl_shapes import print_shapes
from drcl_speed import machine, print_epochs
from drcl_stream import print_streaming
from open_data import SETS

from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import read_settings, validated

TABLES = ("quality", "reference", "shapes", "epoch", "seeds", "size", "stream", "masks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("XFEAT_SHARED_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--variants", nargs="+", choices=list(ABLATIONS), default=list(ABLATIONS))
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="KEY=VALUE", help="of shapes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the streamed cache")
    parser.add_argument("--limit", type=int, default=1024, help="MB that streaming may take")
    o = parser.parse_args()
    device, seeds = torch.device(o.device), list(range(o.seeds))
    print(f"machine: {machine(device)}\n")
    if o.table == "quality":
        print_quality(o.data, o.sets, seeds, o.variants)
    elif o.table == "reference":
        print_reference(o.data, o.sets, seeds)
    elif o.table == "shapes":
        print_shapes(o.data, seeds, validated(DrclSettings, read_settings(None, o.settings)))
    elif o.table == "epoch":
        print_epochs(o.repeats, o.epochs, device)
    elif o.table == "seeds":
        print_seeds(o.data, o.sets, seeds, device)
    elif o.table == "size":
        print_sizes(o.data, o.sets, seeds, device)
    elif o.table == "stream":
        print_streaming(o.rows, o.limit)
    else:
        print_masks(device)


if __name__ == "__main__":
    main()

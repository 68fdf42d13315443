"""`spatialprop data convert`: a data set as a folder of images and labels."""

import argparse
from pathlib import Path

EXAMPLES = """examples:
  spatialprop data convert helen root=DIR points=DIR/points.csv --to ALIGNED
  python train.py data=folder data.root=ALIGNED
Images that exist are skipped: give another folder after changing settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a config of conf/data: helen, voc, camvid, cityscapes, synthetic, folder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of that config, such as root=DIR")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="gets {train,val,test}/{images,labels}")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="threads")


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from spatialprop.cli.data.config import compose_config, data_overrides, open_splits
    from spatialprop.data.tools import claim_folder, convert_split

    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1; got {options.workers}")
    splits = open_splits(compose_config(data_overrides(options.name, options.settings)))
    claim_folder(options.to, splits.labels)
    written = 0
    for name, examples in splits.distinct.items():
        converted = convert_split(examples, options.to / name, options.workers)
        written += sum(tqdm(converted, total=len(examples), desc=name, unit="image"))
    print(f"{written} images written to {options.to}; to use them: data=folder data.root={options.to}")
    return 0

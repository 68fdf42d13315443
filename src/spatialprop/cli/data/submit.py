"""`spatialprop data submit`: results on VOC's test images as the evaluation server takes them."""

import argparse
from pathlib import Path

EXAMPLES = """examples:
  python evaluate.py run=RUN data=voc data.root=DIR data.test_split=test predictions=true
  spatialprop data submit voc root=DIR --predictions EVALUATION/predictions/refined --to RESULTS"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["voc"], help="the data set; only VOC's server takes label maps like these")
    parser.add_argument("settings", nargs="+", metavar="root=DIR", help="where the data set is")
    parser.add_argument("--predictions", type=Path, required=True, metavar="DIR", help="label maps, <name>.png each")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="gets results/VOC2012/... and results.tgz"
    )
    parser.add_argument(
        "--competition", default="comp6", choices=["comp5", "comp6"], help="comp5: trained on VOC's own data only"
    )


def run(options: argparse.Namespace) -> int:
    from spatialprop.cli.data.config import compose_config, data_overrides, unwrapped
    from spatialprop.data.tools import check_predictions, write_submission

    config = compose_config(data_overrides(options.name, options.settings))
    root = unwrapped(lambda: str(config.data.root))
    problems = check_predictions(root, options.predictions)
    if problems:
        print("\n".join(problems))
        print(f"{len(problems)} problems; nothing was written")
        return 1
    archive = write_submission(root, options.predictions, options.to, options.competition)
    print(f"{archive}: upload it at http://host.robots.ox.ac.uk:8080")
    return 0

"""Train, test and report one experiment: `python train.py [overrides]`; see conf/train.yaml."""

import hydra
from omegaconf import DictConfig

from spatialprop.experiment.overrides import register_resolvers, run_main

register_resolvers()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float:
    # Not before: tab completion runs this script.
    from spatialprop.experiment.training import run_job

    return run_job(config)


if __name__ == "__main__":
    run_main(main, "train")

"""Score a trained run, on its own data or on other: `python evaluate.py run=FOLDER`; see conf/evaluate.yaml."""

import hydra
from omegaconf import DictConfig

from spatialprop.experiment.overrides import register_resolvers, run_main

register_resolvers()


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    # Not before: tab completion runs this script.
    from spatialprop.experiment.evaluation import evaluate_job

    evaluate_job(config)


if __name__ == "__main__":
    run_main(main, "evaluate")

"""Trains two classifiers on the bundled digits and lays them out as a model repository.

    train.py DIRECTORY

DIRECTORY/repository holds three models: the forest and the logistic regression for Python, and the same logistic
regression as weights for the native container. DIRECTORY/held_out.npz holds the rows to ask and what each model says
of them offline.
"""

import sys
from pathlib import Path

import joblib
import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

MODEL = '''"""A scikit-learn classifier of the 8 x 8 digits."""

import joblib

import hydrofoil as foil


@foil.model(max_batch=64)
class {name}:
    def load(self, ctx):
        self.model = joblib.load(ctx.path("model.joblib"))

    def predict(self, x: foil.f64["n", 64]) -> foil.i64["n"]:
        return self.model.predict(x)
'''


def main(directory: Path) -> None:
    digits = load_digits()
    x, asked, y, truth = train_test_split(digits.data, digits.target, test_size=0.3, random_state=7)
    forest = RandomForestClassifier(n_estimators=100, random_state=7, n_jobs=1).fit(x, y)
    logistic = LogisticRegression(max_iter=5000).fit(x, y)
    repository = directory / "repository"
    write_python(repository / "forest", "Forest", forest)
    write_python(repository / "logistic", "Logistic", logistic)
    write_native(repository / "logistic_native", logistic)
    offline = {"forest": forest.predict(asked), "logistic": logistic.predict(asked)}
    offline["logistic_native"] = offline["logistic"]
    np.savez(directory / "held_out.npz", x=asked, truth=truth, **offline)
    print(f"trained on {len(x)} digits, {len(asked)} held out")


def write_python(path: Path, name: str, model: object) -> None:
    version = path / "1"
    version.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, version / "model.joblib")
    (version / "model.py").write_text(MODEL.format(name=name))


def write_native(path: Path, model: LogisticRegression) -> None:
    version = path / "1"
    version.mkdir(parents=True, exist_ok=True)
    weights = {
        "coef": np.ascontiguousarray(model.coef_, np.float64),
        "intercept": np.ascontiguousarray(model.intercept_, np.float64),
        "classes": np.ascontiguousarray(model.classes_, np.int64),
    }
    save_file(weights, version / "model.safetensors")
    (path / "model.toml").write_text('runtime = "native"\nkind = "linear"\n')


if __name__ == "__main__":
    main(Path(sys.argv[1]))

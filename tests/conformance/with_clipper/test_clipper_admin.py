"""Clipper's published client, `clipper-admin` 0.4.1, and programs written for Clipper, against Hydrofoil."""

import base64
import itertools
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import servers
from clipper_admin import ClipperConnection, ClipperException
from clipper_admin.exceptions import UnconnectedException
from processes import Processes

MODELS = Path(__file__).resolve().parent / "models"
#: Nothing here takes a tenth of it; what does, hangs.
PATIENCE_S = 60
#: Between two looks.
LOOK_S = 0.05
#: Of applications that are to answer, whatever the machine is busy with.
SLO_US = 20_000_000
NO_MODEL = "No connected models found for query"
TOO_LATE = "Failed to retrieve a prediction response within the specified latency SLO"

names = (f"n{number}" for number in itertools.count())


@contextmanager
def connected(mode: str):
    query, admin, rpc = (f"127.0.0.1:{port}" for port in servers.free_ports(3))
    flags = [f"--clipper={mode}", "--clipper-query", query, "--clipper-admin", admin, "--clipper-rpc", rpc]
    with servers.foil(*flags, models=MODELS):
        connection = ClipperConnection(Processes(query, admin, rpc))
        with pytest.raises(UnconnectedException):
            connection.get_all_apps()
        connection.start_clipper()
        try:
            yield connection
        finally:
            connection.stop_all()


@pytest.fixture(scope="module")
def clipper():
    with connected("on") as connection:
        yield connection


@pytest.fixture(scope="module")
def strict():
    with connected("strict") as connection:
        yield connection


def post(connection, page: str, body) -> requests.Response:
    given = {"data": body} if isinstance(body, str) else {"json": body}
    return requests.post(f"http://{connection.get_query_addr()}/{page}", timeout=PATIENCE_S, **given)


def administer(connection, page: str, body) -> requests.Response:
    given = {"data": body} if isinstance(body, str) else {"json": body}
    return requests.post(f"http://{connection.cm.get_admin_addr()}/admin/{page}", timeout=PATIENCE_S, **given)


def predict(connection, app: str, **body) -> dict:
    answer = post(connection, f"{app}/predict", body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def until(what: str, look):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(LOOK_S)
    raise AssertionError(f"waited in vain until {what}")


def new_app(connection, input_type: str = "doubles", default: str = "-1.0", slo_us: int = SLO_US) -> str:
    app = next(names)
    connection.register_application(name=app, input_type=input_type, default_output=default, slo_micros=slo_us)
    return app


def answers(connection, app: str, given, **body) -> dict:
    """Once the model's container is there."""

    def look():
        answer = predict(connection, app, input=given, **body)
        return None if answer["default"] else answer

    return until(f"{app} answers", look)


def test_two_versions_of_a_model_register_and_the_older_can_be_made_current(clipper):
    model = next(names)
    for version in ("v1", "v2"):
        clipper.register_model(model, version, "integers", image="image", labels=["a", "b"])
    info = clipper.get_model_info(model, "v1")
    assert info["input_type"] == "integers" and info["labels"] == ["a", "b"]
    assert clipper.get_current_model_version(model) == "v2"
    clipper.set_model_version(model, "v1")
    assert clipper.get_current_model_version(model) == "v1"
    assert {f"{model}:v1", f"{model}:v2"} <= set(clipper.get_all_models())
    assert clipper.get_model_info(model, "v3") is None


def test_applications_are_listed_until_they_are_deleted(clipper):
    app = new_app(clipper, "d", default="DEFAULT")
    assert app in clipper.get_all_apps()
    assert clipper.get_app_info(app) == {
        "name": app, "input_type": "doubles", "default_output": "DEFAULT",
        "latency_slo_micros": SLO_US, "linked_models": [],
    }  # fmt: skip
    assert clipper.get_app_info(app) in clipper.get_all_apps(verbose=True)
    assert predict(clipper, app, input=[1.1])["output"] == "DEFAULT"
    clipper.unregister_application(app)
    assert app not in clipper.get_all_apps()
    assert clipper.get_app_info(app) is None
    assert post(clipper, f"{app}/predict", {"input": [1.1]}).status_code == 404


def test_links_are_made_and_taken_back(clipper):
    app, model = new_app(clipper, "strings"), next(names)
    assert clipper.get_linked_models(app) == []
    with pytest.raises(ClipperException, match="No model with name"):
        clipper.link_model_to_app(app, model)
    clipper.register_model(model, 1, "strings")
    clipper.link_model_to_app(app, model)
    assert clipper.get_linked_models(app) == [model]
    clipper.unlink_model_from_app(app, model)
    assert clipper.get_linked_models(app) == []


def test_a_model_without_containers_can_not_be_scaled(clipper):
    model = next(names)
    clipper.register_model(model, 1, "doubles")
    with pytest.raises(ClipperException, match="containerless model"):
        clipper.set_num_replicas(model, 2, 1)


def test_a_deployed_model_is_asked_one_by_one_in_batches_and_by_version(clipper):
    app, model = new_app(clipper), next(names)
    clipper.deploy_model(model, "v1", "doubles", "image")
    clipper.link_model_to_app(app, model)
    first = answers(clipper, app, [1.5, 2.5])
    assert (first["output"]["by"], first["output"]["saw"]) == ("v1", [1.5, 2.5])
    assert predict(clipper, f"{app}", input_batch=[[0.5]])["output"]["saw"] == [0.5]
    rows = [[0.1], [2.5, 3.5], [4.0], [5.5]]
    batch = post(clipper, f"{app}/predict/", {"input_batch": rows}).json()["batch_predictions"]
    assert [answer["output"]["saw"] for answer in batch] == rows
    ids = [answer["query_id"] for answer in batch]
    assert ids == list(range(ids[0], ids[0] + 4)) and ids[0] > first["query_id"]

    clipper.deploy_model(model, "v2", "doubles", "image")
    until("v2 answers", lambda: predict(clipper, app, input=[1.0])["output"]["by"] == "v2")
    assert answers(clipper, app, [1.0], version="v1")["output"]["by"] == "v1"
    unknown = post(clipper, f"{app}/predict", {"input": [1.0], "version": "v3"})
    assert unknown.status_code == 400
    assert unknown.json() == {
        "error": "Query processing error",
        "cause": f"Requested version: v3 does not exist for model: {model}",
    }
    clipper.set_model_version(model, "v1")
    assert predict(clipper, app, input=[1.0])["output"]["by"] == "v1"

    assert clipper.get_num_replicas(model, "v2") == 1
    replicas = [it for it in clipper.get_all_model_replicas(verbose=True) if it["model_name"] == model]
    assert {it["model_version"] for it in replicas} == {"v1", "v2"}
    assert clipper.get_model_replica_info(model, "v1", 0)["model_id"] == f"{model}:v1"
    assert f"{model}:v1:0" in clipper.get_all_model_replicas()
    clipper.stop_inactive_model_versions([model])
    assert [it for it in clipper.get_all_models() if it.startswith(f"{model}:")] == [f"{model}:v1"]
    assert predict(clipper, app, input=[1.0])["output"]["by"] == "v1"


def test_until_a_new_version_can_answer_the_last_one_does(clipper):
    app, model = new_app(clipper), next(names)
    clipper.deploy_model(model, "v1", "doubles", "image")
    clipper.link_model_to_app(app, model)
    answers(clipper, app, [1.0])
    clipper.register_model(model, "v2", "doubles")
    assert clipper.get_current_model_version(model) == "v2"
    assert predict(clipper, app, input=[1.0])["output"]["by"] == "v1"


def test_by_the_letter_a_new_version_is_asked_at_once(strict):
    app, model = new_app(strict), next(names)
    strict.deploy_model(model, "v1", "doubles", "image")
    strict.link_model_to_app(app, model)
    answers(strict, app, [1.0])
    strict.register_model(model, "v2", "doubles")
    answer = predict(strict, app, input=[1.0])
    assert answer["default"] and answer["default_explanation"] == NO_MODEL


def test_without_a_replica_the_default_is_the_answer(clipper):
    app, model = new_app(clipper, default="nobody"), next(names)
    clipper.deploy_model(model, 1, "doubles", "image", num_replicas=2)
    clipper.link_model_to_app(app, model)
    answers(clipper, app, [1.0])
    clipper.set_num_replicas(model, 1)
    assert not answers(clipper, app, [1.0])["default"]
    clipper.set_num_replicas(model, 0)
    gone = until("nobody answers", lambda: (it := predict(clipper, app, input=[1.0]))["default"] and it)
    assert (gone["output"], gone["default_explanation"]) == ("nobody", NO_MODEL)
    assert "dial in" in gone["default_cause"]


def test_an_answer_that_comes_too_late_is_the_default(clipper):
    app = new_app(clipper, default="[0]", slo_us=1)
    clipper.link_model_to_app(app, "total")
    late = predict(clipper, app, input=[1.0])
    assert late["default"] and late["output"] == [0]
    assert late["default_explanation"] == TOO_LATE


def test_a_model_that_foil_serves_stands_behind_an_application(clipper):
    app = new_app(clipper)
    assert clipper.get_current_model_version("total") == "1"
    clipper.link_model_to_app(app, "total")
    assert predict(clipper, app, input=[1.5, 2.0])["output"] == 3.5
    assert predict(clipper, app, input=[1, 2], version="1")["output"] == 3.0
    whole = new_app(clipper, "integers")
    clipper.link_model_to_app(whole, "total")
    batch = predict(clipper, whole, input_batch=[[1, 2], [3, 4], []])["batch_predictions"]
    assert [answer["output"] for answer in batch] == [3.0, 7.0, 0.0]


@pytest.mark.parametrize(
    ("input_type", "given", "seen"),
    [
        ("integers", [1, -2], [1, -2]),
        ("floats", [0.5], [0.5]),
        ("doubles", [0.1, 1e300], [0.1, 1e300]),
        ("strings", 'text, "quoted" ü', 'text, "quoted" ü'),
        ("bytes", base64.b64encode(bytes([1, 2, 255])).decode(), [1, 2, -1]),
    ],
)
def test_every_input_type_reaches_a_container_whole(clipper, input_type, given, seen):
    app, model = new_app(clipper, input_type), next(names)
    clipper.deploy_model(model, 1, input_type, "image")
    clipper.link_model_to_app(app, model)
    assert answers(clipper, app, given)["output"]["saw"] == seen


def test_wrong_questions_are_told_what_is_wrong(clipper):
    app = new_app(clipper)
    for body, cause in [
        ("{", "JSON parse error: "),
        ({"inputs": [1.0]}, "JSON object does not have required keys input or input_batch"),
        ({"input": ["1"]}, "Array input of type String is not of type double"),
        ({"input_batch": [[1.0], ["1"]]}, "Array input of type String is not of type double"),
        ({"input": 1.0}, "Type mismatch! JSON key input expected type Array"),
    ]:
        answer = post(clipper, f"{app}/predict", body)
        assert answer.status_code == 400
        assert answer.json()["error"] == "Json error"
        assert answer.json()["cause"].startswith(f"Error parsing JSON: {cause}"), answer.text
    assert post(clipper, f"{app}/predict", "[]").json()["cause"] == "JSON schema invalid"
    fed = post(clipper, f"{app}/update", {"uid": 0, "input": [1.0], "label": 1.0})
    assert (fed.status_code, fed.text) == (200, "Feedback received? 1")
    fed = post(clipper, f"{app}/update", {"uid": 0, "input": [1.0]})
    assert fed.status_code == 400
    assert "JSON object does not have required key: label" in fed.text


def test_by_the_letter_defects_are_kept(strict):
    app = new_app(strict)
    answer = post(strict, f"{app}/predict", {"input": [1, 2]})
    assert answer.status_code == 400
    assert "Array input of type Number is not of type double" in answer.json()["cause"]
    for page in ("nope/predict", "nothing"):
        with pytest.raises(requests.ConnectionError):
            post(strict, page, {"input": [1.0]})
    strict.unregister_application(app)
    assert strict.get_app_info(app) is None
    assert predict(strict, app, input=[1.0])["default"], "a deleted application answers on"
    model = next(names)
    strict.register_model(model, 1, "doubles")
    assert strict.get_model_info(model, 1)["labels"] == [""]
    fed = post(strict, f"{app}/update", {"uid": 7, "input": [1.0], "label": 1.0})
    assert fed.text == "Feedback received? 0"


def test_the_metrics_page_is_the_clients_health_probe(clipper):
    app = new_app(clipper)
    predict(clipper, app, input=[1.0])
    page = clipper.inspect_instance()
    counters = {name: value for counter in page["counters"] for name, value in counter.items()}
    assert counters[f"app:{app}:num_predictions"] == {"count": "1"}
    ratios = {name: value for ratio in page["ratio_counters"] for name, value in ratio.items()}
    assert ratios[f"app:{app}:default_prediction_ratio"] == {"ratio": "1"}
    assert set(page) == {"counters", "ratio_counters", "meters", "histograms"}


def refusals(app: str, model: str):
    """Pages, what they are sent, and what they say. `app` takes doubles and is linked to `model` version 1."""
    new = {"name": app, "input_type": "doubles", "default_output": "x", "latency_slo_micros": 1000}
    version = {
        "model_name": model, "model_version": "2", "labels": [], "input_type": "doubles",
        "container_name": "c", "model_data_path": "p", "batch_size": -1,
    }  # fmt: skip
    one = {"model_name": model, "model_version": "9"}
    yield "add_app", new, f"application '{app}' already exists"
    yield "add_app", {"name": "x"}, "JSON object does not have required key: input_type"
    yield "add_app", "{", "Error parsing JSON: JSON parse error: "
    yield "add_app", {**new, "name": "x", "input_type": "tensors"}, "'tensors' is no input_type"
    yield "add_app", {**new, "name": "x", "latency_slo_micros": 0}, "latency_slo_micros is 0"
    yield "add_app", {**new, "name": "a/b"}, "'a/b' can't be the name of an application"
    yield "delete_app", {"name": "none"}, "Application 'none' does not exist"
    yield "get_linked_models", {"app_name": "none"}, "No application with name 'none' exists."
    links = {"app_name": app, "model_names": [model]}
    yield "add_model_links", {**links, "app_name": "none"}, "No app with name 'none' exists."
    yield "add_model_links", {**links, "model_names": ["none"]}, "No model with name 'none' exists."
    yield "add_model_links", links, f"The model with name '{model}' is already linked to '{app}'"
    yield "add_model_links", {**links, "model_names": ["total"]}, f"A model with name {model} is already linked to '{app}'."
    yield "add_model_links", {**links, "model_names": []}, "Please provide the name of the model"
    many = "Applications must be linked with at most one model. Attempted to add links to 2 models."
    yield "add_model_links", {**links, "model_names": [model, "total"]}, many
    unlinked = f"Cannot remove nonexistent link between app {app} and model none"
    yield "delete_model_links", {**links, "model_names": ["none"]}, unlinked
    yield "delete_model_links", {**links, "app_name": "none"}, "No app with name none exists."
    taken = f"model with name '{model}' and version '1' already exists"
    yield "add_model", {**version, "model_version": "1"}, taken
    yield "add_model", {**version, "batch_size": 0}, "The batch size must be positive or DEFAULT_BATCH_SIZE, which is -1"
    for key, what in [("model_name", "model name"), ("model_version", "model version")]:
        yield "add_model", {**version, key: "a:b"}, f"Invalid {what} supplied: a:b. Contains one of: ',', ':'"
    yield "add_model", {**version, "labels": ["a,b"]}, "Invalid label supplied: a,b. Contains one of: ',', ':'"
    other = (
        f"Model with name '{model}' is already linked to app '{app}' using input type 'doubles'. "
        "The input type you provided for a new version of the model, 'integers', is not compatible."
    )
    yield "add_model", {**version, "input_type": "integers"}, other
    yield "set_model_version", {"model_name": "none", "model_version": "1"}, "Cannot set version for nonexistent model 'none'"
    yield "set_model_version", one, f"Cannot set non-existent version '9' for model with name '{model}'"
    yield "delete_versioned_model", one, f"model with name '{model}' and version '9' does not exist"
    served = "is served by this engine from a file"
    yield "delete_versioned_model", {"model_name": "total", "model_version": "1"}, served
    yield "get_all_models", {}, "JSON object does not have required key: verbose"
    yield "get_all_models", {"verbose": "yes"}, "Type mismatch! JSON key verbose expected type bool"


def test_the_admin_api_refuses_in_clippers_words(clipper):
    app, model = new_app(clipper), next(names)
    clipper.register_model(model, 1, "doubles")
    clipper.link_model_to_app(app, model)
    for page, body, text in refusals(app, model):
        answer = administer(clipper, page, body)
        assert (answer.status_code, text in answer.text) == (400, True), (page, body, answer.text)
    mistaken = new_app(clipper, "strings")
    with pytest.raises(ClipperException, match="incompatible input_type 'doubles'. Requested app to link to has"):
        clipper.link_model_to_app(mistaken, model)


def test_a_deleted_version_is_gone_and_can_come_again(clipper):
    app, model = new_app(clipper), next(names)
    clipper.deploy_model(model, 1, "doubles", "image")
    clipper.link_model_to_app(app, model)
    answers(clipper, app, [1.0])
    clipper.stop_versioned_models({model: ["1"]})
    again = administer(clipper, "delete_versioned_model", {"model_name": model, "model_version": "1"})
    assert again.status_code == 400 and again.text.endswith("does not exist")
    assert predict(clipper, app, input=[1.0])["default"]
    clipper.deploy_model(model, 1, "doubles", "image")
    assert answers(clipper, app, [2.0])["output"]["saw"] == [2.0]


def test_a_models_state_is_the_applications_default(clipper):
    app = new_app(clipper, default="whatever")
    for uid in (0, 7):
        assert administer(clipper, "get_state", {"app_name": app, "uid": uid}).text == "whatever"


def test_500_applications_come_and_half_of_them_go(clipper):
    before = len(clipper.get_all_apps())
    apps = [new_app(clipper) for _ in range(500)]
    assert len(clipper.get_all_apps()) == before + 500
    for app in apps[::2]:
        clipper.unregister_application(app)
    assert len(clipper.get_all_apps()) == before + 250

"""What Clipper's own client needs to drive an engine: a container manager whose containers are plain processes."""

import subprocess
import sys
from pathlib import Path

from clipper_admin.container_manager import ContainerManager

CONTAINER = Path(__file__).resolve().parents[2] / "containers/clipper.py"


class Processes(ContainerManager):
    """Points the client at a running engine and starts `tests/containers/clipper.py` for each replica."""

    def __init__(self, query: str, admin: str, rpc: str):
        self.cluster_identifier = self.cluster_name = "foil"
        self.query, self.admin = query, admin
        self.rpc_port = rpc.rsplit(":", 1)[1]
        self.running: dict[tuple[str, str], list[subprocess.Popen]] = {}

    def start_clipper(self, *_):
        """It runs already."""

    def connect(self):
        """Nothing has to be found."""

    def deploy_model(self, name, version, input_type, image, num_replicas=1):
        self.set_num_replicas(name, version, input_type, image, num_replicas)

    def get_num_replicas(self, name, version):
        return len(self.running.get((name, version), []))

    def set_num_replicas(self, name, version, input_type, image, num_replicas):
        replicas = self.running.setdefault((name, version), [])
        while len(replicas) > num_replicas:
            end(replicas.pop())
        while len(replicas) < num_replicas:
            replicas.append(self.start(name, version, input_type))

    def start(self, name, version, input_type) -> subprocess.Popen:
        command = [
            sys.executable, str(CONTAINER), "--port", self.rpc_port, "--name", name, "--version", version,
            "--input-type", input_type, "--tag", version, "--idle-ms", "500",
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def get_logs(self, logging_dir):
        return []

    def stop_models(self, models):
        for name, versions in models.items():
            for version in versions:
                for replica in self.running.pop((name, version), []):
                    end(replica)

    def stop_all_model_containers(self):
        for replicas in self.running.values():
            for replica in replicas:
                end(replica)
        self.running.clear()

    def stop_all(self, graceful=True):
        self.stop_all_model_containers()

    def get_admin_addr(self):
        return self.admin

    def get_query_addr(self):
        return self.query

    def get_metric_addr(self):
        return self.query


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()

"""A Ray cluster of separate workers on this machine with the Dagster UI on top, on loopback only, until interrupted.

    python -m orchestration.cluster.local

For trying and testing what otherwise needs several machines. On those, `ray start` is used (docs/deployment.md).
"""

import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.errors import InputError
from orchestration import serve
from orchestration.settings import LOOPBACK, REPOSITORY

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

WORKERS = 2  # as many runs as deployment/local-cluster/dagster.yaml lets run at once
FIRST_RAY_PORT = 6370
HEAD_PORTS, NODE_PORTS = 3, 10  # ports of the head alone, and of each node
WORKER_PROCESSES = 4  # ports for the Ray processes of a node, beside its six services
OBJECT_STORE_BYTES = 80_000_000  # Ray's smallest: shards travel through the data folder, not through Ray


def ray_environment(first_port: int, folder: Path) -> dict[str, str]:
    """Environment of every process of the cluster: a token that only they know, loopback only, nothing sent to Ray's makers."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",  # it ends runs when the machine's memory is nearly full, whoever filled it
        "RAY_TMPDIR": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # a run is started as `dagster api execute_run`
        # Ray names it after the systems where it is the default: the node's address is then 127.0.0.1 and its services listen there
        # alone. Otherwise they listen on every interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_JOB_START_TIMEOUT_SECONDS": "86400",  # how long a run may wait for a worker is said in dagster.yaml alone
        "AUTOSCALER_METRIC_PORT": str(first_port + 1),
        "DASHBOARD_METRIC_PORT": str(first_port + 2),
        "NEURON_ATLAS_RAY_ADDRESS": f"http://{LOOPBACK}:{first_port + HEAD_PORTS}",
    }


def node_settings(first_port: int) -> dict[str, Any]:
    """Ports and limits of one Ray node."""
    worker_port = first_port + NODE_PORTS - WORKER_PROCESSES
    return {
        "node_ip_address": LOOPBACK,
        "node_manager_port": first_port,
        "object_manager_port": first_port + 1,
        "dashboard_agent_listen_port": first_port + 2,
        "metrics_agent_port": first_port + 3,
        "runtime_env_agent_port": first_port + 4,
        "metrics_export_port": first_port + 5,
        "min_worker_port": worker_port,
        "max_worker_port": worker_port + WORKER_PROCESSES - 1,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_log_monitor": False,
    }


def start_cluster(first_port: int) -> "Cluster":
    """A head that runs nothing itself, and workers that take one run each. The environment of `ray_environment` must stand."""
    from ray.cluster_utils import Cluster

    dashboard = first_port + HEAD_PORTS
    head = node_settings(dashboard + 1)
    head |= {"gcs_server_port": first_port, "dashboard_host": LOOPBACK, "dashboard_port": dashboard, "include_dashboard": True}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "num_cpus": 0})
    for worker in range(WORKERS):
        cluster.add_node(num_cpus=1, **node_settings(dashboard + 1 + NODE_PORTS * (worker + 1)))
    return cluster


def main() -> int:
    """Start the workers and the UI, and wait for the UI to end."""
    try:
        first_port = serve.port_from("NEURON_ATLAS_RAY_PORT", FIRST_RAY_PORT)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ.setdefault("DAGSTER_HOME", str(REPOSITORY / "deployment" / "local-cluster"))
    os.environ["NEURON_ATLAS_RUNS"] = "per-shard"
    with tempfile.TemporaryDirectory(prefix="atlas-", dir="/tmp") as folder:  # Ray's sockets need a short path
        os.environ |= ray_environment(first_port, Path(folder))  # before Ray is imported, and for every process started from here
        (Path(folder) / "ray").mkdir()
        cluster = start_cluster(first_port)
        try:
            for number, node in enumerate(sorted(cluster.worker_nodes, key=lambda node: node.node_manager_port)):
                print(f"Ray worker {number}  process {node.all_processes['raylet'][0].process.pid}", flush=True)
            return serve.main()
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main())

"""What is asked of the daemon, and what is never asked. No daemon needed."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest

from adapters.docker import labels
from adapters.docker.denied import denied
from adapters.docker.request import container_request
from adapters.process.free_ports import FreePorts
from domain.app import Port, Volume
from domain.route import Publish
from domain.secret import SecretText
from reconcilers.ports import ReplicaName, StartReplica

INSTALLATION = "c0ffee00-0000-4000-8000-000000000001"
ORDER = StartReplica(
    name=ReplicaName("shop", "web", revision=7, slot=2, attempt=1),
    uid=41,
    digest="5eed5eed5eed5eed",
    position=43,
    image="nginx",
    command=("serve",),
    args=("--fast",),
    workdir="/srv",
    env={"MODE": "quick", "TOKEN": SecretText("p4ssw0rd")},
    ports=(Port(name="http", port=8080), Port(name="my-admin", port=9000)),
    volumes=(Volume(name="data", path="/data"), Volume(name="pool", path="/pool", scope="app")),
    cpu_millis=250,
    memory_bytes=64 * 2**20,
    stop_signal="SIGINT",
    stop_grace=2.5,
)


def test_the_order_comes_back_from_its_labels() -> None:
    read = labels.identity(labels.of_order(ORDER, INSTALLATION, "local"))
    assert (read.name, read.uid, read.digest, read.position) == (
        ORDER.name,
        ORDER.uid,
        ORDER.digest,
        ORDER.position,
    )
    assert read.ports == (("http", 8080), ("my-admin", 9000))
    assert read.limits == labels.Limits(64 * 2**20, 250_000_000, labels.MAX_PIDS)


def test_labels_that_are_not_a_replicas_are_refused() -> None:
    with pytest.raises(KeyError):
        labels.identity({labels.INSTALLATION: INSTALLATION})


def test_a_program_finds_its_ports_in_variables() -> None:
    env = container_request(ORDER, INSTALLATION, "local")["Env"]
    assert {"PORT=8080", "PORT_HTTP=8080", "PORT_MY_ADMIN=9000", "MODE=quick"} <= set(env)
    assert "TOKEN=p4ssw0rd" in env


def test_a_port_of_the_host_leads_to_the_one_that_is_published() -> None:
    publish = (
        Publish(port="http", host_port=5000),
        Publish(port="http", host_port=5001),
        Publish(port="my-admin", host_port=5002),
    )
    order = msgspec.structs.replace(ORDER, publish=publish)
    request = container_request(order, INSTALLATION, "local")
    assert request["HostConfig"]["PortBindings"] == {
        "8080/tcp": [{"HostPort": "5000"}, {"HostPort": "5001"}],
        "9000/tcp": [{"HostPort": "5002"}],
    }
    assert set(request["ExposedPorts"]) == {"8080/tcp", "9000/tcp"}
    assert not denied(request)
    plain = container_request(ORDER, INSTALLATION, "local")
    assert "ExposedPorts" not in plain
    assert "PortBindings" not in plain["HostConfig"]


def test_a_process_listens_where_its_port_is_published() -> None:
    free = FreePorts()
    http, admin = free.choose(ORDER.ports, set(), (Publish(port="http", host_port=5000),))
    assert (http.port, http.number) == ("http", 5000)
    assert admin.number not in (0, 5000)


def test_a_volume_belongs_to_a_slot_or_to_the_app() -> None:
    mounts = container_request(ORDER, INSTALLATION, "local")["HostConfig"]["Mounts"]
    assert [mount["Source"] for mount in mounts] == [
        "stw-c0ffee-shop.web.data.2",
        "stw-c0ffee-shop.web.pool",
    ]


def test_what_is_asked_for_an_order_is_allowed() -> None:
    assert denied(container_request(ORDER, INSTALLATION, "local")) == ()


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("Privileged", True, "privileged"),
        ("PidMode", "host", "process namespace"),
        ("PidMode", "container:abc", "process namespace"),
        ("IpcMode", "host", "IPC namespace"),
        ("UTSMode", "host", "UTS namespace"),
        ("UsernsMode", "host", "user namespace"),
        ("CgroupnsMode", "host", "cgroup namespace"),
        ("NetworkMode", "host", "network namespace"),
        ("NetworkMode", "container:abc", "network namespace"),
        ("CapAdd", ["CHOWN", "SYS_ADMIN"], "SYS_ADMIN"),
        ("CapAdd", ["CAP_NET_RAW"], "NET_RAW"),
        ("CapAdd", ["ALL"], "ALL"),
        ("CapDrop", [], "capabilities"),
        ("SecurityOpt", [], "no-new-privileges"),
        ("SecurityOpt", ["no-new-privileges:false"], "no-new-privileges:false"),
        ("SecurityOpt", ["no-new-privileges", "seccomp=unconfined"], "seccomp"),
        ("Devices", [{"PathOnHost": "/dev/sda"}], "devices"),
        ("DeviceRequests", [{"Count": -1}], "devices"),
        ("DeviceCgroupRules", ["a *:* rwm"], "devices"),
        ("Binds", ["/etc:/etc:ro"], "/etc"),
        ("Binds", ["/var/run/docker.sock:/var/run/docker.sock"], "Docker socket"),
        ("Mounts", [{"Type": "bind", "Source": "/run/docker.sock", "Target": "/x"}], "socket"),
        ("Mounts", [{"Type": "bind", "Source": "/", "Target": "/host"}], "host's /"),
        ("Mounts", [{"Type": "volume", "Source": "/etc", "Target": "/x"}], "/etc"),
        (
            "Mounts",
            [{"Type": "volume", "Source": "v", "VolumeOptions": {"DriverConfig": {"Name": "l"}}}],
            "volume driver",
        ),
        ("VolumesFrom", ["another"], "VolumesFrom"),
        ("Sysctls", {"kernel.msgmax": "1"}, "Sysctls"),
        ("Runtime", "other", "Runtime"),
        ("SomethingNew", "x", "SomethingNew"),
    ],
)
def test_what_would_reach_the_host_is_denied(option: str, value: Any, word: str) -> None:
    request = deepcopy(container_request(ORDER, INSTALLATION, "local"))
    request["HostConfig"][option] = value
    assert any(word in reason for reason in denied(request))

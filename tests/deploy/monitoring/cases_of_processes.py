"""Processes and machines that are short of something: in minutes."""

from tests.deploy.monitoring.case_figures import AT, POD
from tests.deploy.monitoring.promtool_kit import Case, Stands, flat, grows

_OF_WORKER = f'{POD},process="worker"'
_WORKER = AT | {"process": "worker"}
_ROOT = {"instance": "node-1:9100", "device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/"}
_DISK = 'instance="node-1:9100",device="/dev/sda1",fstype="ext4",mountpoint="/"'


def _disk(free: int) -> dict[str, str]:
    return {
        f"node_filesystem_avail_bytes{{{_DISK}}}": flat((50, 3), (free, 15), (50, 5)),
        f"node_filesystem_size_bytes{{{_DISK}}}": flat((100, 23)),
        'node_filesystem_avail_bytes{instance="node-1:9100",fstype="tmpfs",mountpoint="/run"}': flat((0, 23)),
        'node_filesystem_size_bytes{instance="node-1:9100",fstype="tmpfs",mountpoint="/run"}': flat((100, 23)),
    }


CASES = (
    Case(
        "PenstockMemoryHigh",
        {
            f"penstock_process_largest_resident_memory_bytes{{{_OF_WORKER}}}": flat((50, 3), (90, 9), (50, 5)),
            f"penstock_process_memory_limit_bytes{{{_OF_WORKER}}}": flat((100, 17)),
        },
        (6, 9, 13),
        (Stands("warning", "90%", _WORKER),),
    ),
    Case(
        "PenstockCpuHigh",
        {
            f'penstock_process_cpu_seconds_total{{{POD},process="worker"}}': grows((6, 5), (54, 30), (6, 15)),
            f'penstock_process_cpu_limit_cores{{{POD},process="worker"}}': flat((1, 51)),
        },
        (18, 34, 45),
        (Stands("warning", "90%", {"instance": "pod-1:9192", "process": "worker"}),),
    ),
    Case(
        "PenstockProcessFrozen",
        {f'penstock_process_snapshot_age_seconds{{{POD},process="worker"}}': flat((1, 3), (65, 5), (1, 5))},
        (3, 5, 9),
        (Stands("warning", "1m 5s", _WORKER),),
    ),
    Case(
        "PenstockProcessRestarts",
        {
            f'penstock_process_started_timestamp_seconds{{{POD},process="worker"}}': f"{grows((0, 9), (60, 7))} "
            + flat((420, 40))
        },
        (12, 20, 50),
        (Stands("warning", "7", _WORKER),),
    ),
    Case(
        "PenstockMachineMemoryHigh",
        {
            'node_memory_MemAvailable_bytes{instance="node-1:9100"}': flat((50, 3), (10, 15), (50, 5)),
            'node_memory_MemTotal_bytes{instance="node-1:9100"}': flat((100, 23)),
        },
        (12, 15, 19),
        (Stands("warning", "90%", {"instance": "node-1:9100"}),),
    ),
    Case(
        "PenstockMachineCpuHigh",
        {'node_cpu_seconds_total{instance="node-1:9100",cpu="0",mode="idle"}': grows((50, 5), (6, 30), (50, 15))},
        (18, 34, 45),
        (Stands("warning", "90%", {"instance": "node-1:9100"}),),
    ),
    Case("PenstockDiskLow", _disk(15), (12, 15, 19), (Stands("warning", "15%", _ROOT),)),
    Case("PenstockDiskLow", _disk(4), (4, 15, 19), (Stands("warning", "4%", _ROOT), Stands("critical", "4%", _ROOT))),
)

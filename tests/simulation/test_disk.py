"""What a crash leaves of a record, and a bit that flips, are found when the log is opened."""

from bus.log import NewEvent
from simulation import seeds
from simulation.disk import Disk, Group, Recovered, Request
from simulation.knobs import Fault

STREAM = "App/shop/web"


def written(disk: Disk, count: int = 1) -> Group:
    group = disk.begin()
    events = [NewEvent(STREAM, "app.scaled", b'{"replicas":2}')] * count
    disk.add(group, Request(events, {}, None, b""))
    return group


def test_a_torn_record_is_dropped_and_what_was_synced_stays() -> None:
    disk = Disk()
    disk.sync(written(disk))
    written(disk, 2)
    assert disk.crash(keeps=True, tears=True) == 2
    torn, sound = disk.recover()
    assert torn > 0
    assert sound is None
    assert [event.position for event in disk.events] == [1]
    assert disk.recover() == Recovered(0, None)


def test_nothing_is_dropped_of_a_disk_that_is_whole() -> None:
    disk = Disk()
    disk.sync(written(disk, 3))
    written(disk)
    disk.crash(keeps=False)
    assert disk.recover() == Recovered(0, None)


def test_nothing_is_believed_from_a_wrong_bit_on() -> None:
    disk = Disk()
    disk.sync(written(disk, 5))
    disk.note()
    disk.flip_a_bit(3)
    assert disk.recover() == Recovered(0, 2)
    assert disk.lose_after(2) == 3
    assert [event.position for event in disk.stream(STREAM)] == [1, 2]
    assert disk.recover() == Recovered(0, None)
    assert disk.rewound() is not None


def test_both_are_counted_where_they_are_found() -> None:
    rates = {Fault.LOG_TORN_RECORD: 0.05, Fault.LOG_FLIPPED_BIT: 0.3}
    outcome = seeds.run(3, rates, minutes=10.0, workers=1)
    assert outcome.fired[Fault.LOG_TORN_RECORD] > 0
    assert outcome.fired[Fault.LOG_FLIPPED_BIT] > 0
    assert not outcome.violations

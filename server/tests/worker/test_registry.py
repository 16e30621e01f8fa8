import importlib
import pkgutil

import guardhouse
from guardhouse.foundation.jobs import Job
from guardhouse.worker import registry


def test_every_declared_job_is_listed() -> None:
    listed = {id(job) for job in registry.JOBS + registry.SCHEDULES}
    for module in pkgutil.walk_packages(guardhouse.__path__, "guardhouse."):
        if module.name.endswith((".jobs", ".upkeep")):
            for value in vars(importlib.import_module(module.name)).values():
                assert not isinstance(value, Job) or id(value) in listed, value.name


def test_names_are_unique_and_schedules_are_schedules() -> None:
    names = [job.name for job in registry.JOBS + registry.SCHEDULES]
    assert len(set(names)) == len(names)
    assert all(job.every_seconds is not None for job in registry.SCHEDULES)
    assert all(job.every_seconds is None for job in registry.JOBS)
    assert len({loop.name for loop in registry.LOOPS}) == len(registry.LOOPS)

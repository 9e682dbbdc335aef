"""An Airflow DAG for each schedule of the Meltano project, named after it, with a task for each task of its job.

Runs of a schedule never overlap, and none is made up for if Airflow was away: the next one reads everything since the
last. A task that fails is tried again: it goes on where it was. If the extractor is set to a list of connected
accounts, its task is mapped: one for each account, in parallel, on whichever machines Airflow's executor has.

No secrets are passed: Meltano finds them where the task runs, in the environment or in the project's `.env`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task
from schedule_list import MeltanoProject, Schedule, Step

RETRIES = 4
RETRY_DELAY = timedelta(minutes=2)
"""Doubled each time: the third try comes when Meltano has let go of a run that was killed, which takes five minutes."""
LONGEST_RETRY_DELAY = timedelta(minutes=30)
LONGEST_RUN = timedelta(hours=6)
"""A first run of a large account may need more; the next try goes on where this one was."""

PROJECT = MeltanoProject.around(__file__)


def dag_of(schedule: Schedule) -> DAG:
    """The DAG that runs a schedule."""
    with DAG(
        dag_id=schedule.name,
        description=f"meltano schedule run {schedule.name}",
        schedule=schedule.interval,
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["meltano"],
        default_args={
            "retries": RETRIES,
            "retry_delay": RETRY_DELAY,
            "retry_exponential_backoff": True,
            "max_retry_delay": LONGEST_RETRY_DELAY,
            "execution_timeout": LONGEST_RUN,
        },
    ) as dag:
        before = None
        for step in schedule.steps:
            if before is None:
                before = operator_of(schedule, step)
            else:
                before >> (before := operator_of(schedule, step))
    return dag


def operator_of(schedule: Schedule, step: Step) -> BashOperator:
    """The task that runs a step; it is part of the DAG that is being made."""
    common = {
        "task_id": step.name,
        "bash_command": step.command,
        "cwd": str(PROJECT.root),
        "append_env": True,
        "skip_on_exit_code": None,
        "do_xcom_push": False,
    }
    env = {"MELTANO_PROJECT_ROOT": str(PROJECT.root), **schedule.env}
    if (extractor := step.by_account) is None:
        return BashOperator(**common, env=env)

    @task(task_id=f"{step.name}-accounts")
    def accounts() -> list[dict[str, str]]:
        return [{**env, **each} for each in PROJECT.variables(extractor, env)]

    label = "{{ task.env.get('MELTANO_RUN_STATE_ID_SUFFIX', 'own account') }}"
    return BashOperator.partial(**common, map_index_template=label).expand(env=accounts())


DAGS = [dag_of(each) for each in PROJECT.schedules()]

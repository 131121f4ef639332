"""How Celery workers take runs; dagster_celery.app reads this module where it is on PYTHONPATH.

    PYTHONPATH=deploy/celery celery -A dagster_celery.app worker -Q dagster -c 2 -n %h

A worker needs what the code server has: the package, platform.yaml, DAGSTER_HOME with the same
dagster.yaml, and the environment with the keys.
"""

import os

broker_url = result_backend = os.environ["RAG_PLATFORM_CELERY_BROKER"]
# A run that a busy worker took in advance would wait for it, and be lost with it.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
# A run is taken off the queue as it begins: it is Dagster that starts it again, not Celery.
task_acks_late = False
result_expires = 604_800
broker_transport_options = {"visibility_timeout": 604_800}
result_backend_transport_options = {"visibility_timeout": 604_800}
# A run leaves nothing behind in the memory of the next one.
worker_max_tasks_per_child = 1
broker_connection_retry_on_startup = True

"""Fails unless the service of this container is SERVING; what the image's health check runs."""

import os
import sys
from importlib import import_module

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.settings import ServiceSettings, load

module = import_module(f"services.{os.environ['SERVICE']}.settings")
classes = (
    each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__
)
(settings,) = (each for each in classes if issubclass(each, ServiceSettings))
listener = load(settings).listener
with grpc.insecure_channel(f"{listener.host}:{listener.port}") as channel:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=4)
    except grpc.RpcError as error:
        sys.exit(f"{listener.host}:{listener.port}: {error.code().name}")
status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
sys.exit(None if status == "SERVING" else status)

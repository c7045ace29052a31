# Images of jambonz-cluster: targets gateway, worker, cluster (tools and status page) and loadtest.
#   docker build --target worker -t jambonz-worker .
# An application of your own: FROM jambonz-worker, COPY it to /app, and name it: CMD ["worker", "mine:app"]
ARG PYTHON_IMAGE=python:3.11-slim

# Builds two virtual environments from locked, hashed requirements; nothing of this stage but /opt/* is kept.
# COMPILE=0 leaves the modules of the hot path uncompiled: a build without a compiler, a third more CPU (ADR 0013).
FROM ${PYTHON_IMAGE} AS build
ARG COMPILE=1
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
WORKDIR /src
COPY deploy/requirements/*.lock deploy/requirements/
COPY scripts/install_compiler.sh scripts/
# Types are checked before anything is compiled, so the build needs what the cluster needs.
RUN python -m venv --without-pip /opt/cluster \
 && python -m pip --python /opt/cluster/bin/python install -q --require-hashes -r deploy/requirements/image.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install -q --require-hashes -r deploy/requirements/build.lock -r deploy/requirements/image.lock \
 && if [ "$COMPILE" = 1 ]; then bash scripts/install_compiler.sh python; fi
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY shared shared
COPY gateway gateway
COPY workers workers
COPY cluster cluster
COPY loadtest/jambonz_simulator loadtest/jambonz_simulator
RUN HATCH_BUILD_HOOK_ENABLE_CUSTOM=$COMPILE /opt/build/bin/pip wheel -q --no-deps --no-build-isolation -w dist . \
 && python -m pip --python /opt/cluster/bin/python install -q --no-deps --no-index dist/*.whl \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/cluster/lib

# What all targets share. Numbers, not names: Kubernetes' runAsNonRoot cannot judge a name.
FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/cluster/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=random
COPY deploy/docker/probe.py /opt/probe.py
WORKDIR /app
USER 10001:10001
# dumb-init is process 1: it passes SIGTERM on even before Python has installed its handlers, and reaps orphans.

FROM base AS cluster
COPY --from=build /opt/cluster /opt/cluster
ENTRYPOINT ["/opt/cluster/bin/dumb-init", "--", "jambonz-cluster"]
EXPOSE 8080
CMD ["status", "--serve", "8080", "--host", "0.0.0.0"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["python", "-I", "-S", "/opt/probe.py", "8080", "/healthz"]

FROM base AS gateway
COPY --from=build /opt/cluster /opt/cluster
ENTRYPOINT ["/opt/cluster/bin/dumb-init", "--", "jambonz-cluster"]
EXPOSE 3000 8081
CMD ["gateway"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["python", "-I", "-S", "/opt/probe.py", "8081", "/healthz"]

FROM base AS worker
COPY --from=build /opt/cluster /opt/cluster
COPY examples /app
ENTRYPOINT ["/opt/cluster/bin/dumb-init", "--", "jambonz-cluster"]
EXPOSE 8082
CMD ["worker", "ivr:app"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["python", "-I", "-S", "/opt/probe.py", "8082", "/healthz"]

# Last: Docker's old builder makes every stage up to the target.
FROM build AS build-loadtest
RUN python -m venv --without-pip /opt/loadtest \
 && python -m pip --python /opt/loadtest/bin/python install -q --require-hashes -r deploy/requirements/load.lock \
 && python -m pip --python /opt/loadtest/bin/python install -q --no-deps --no-index dist/*.whl \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/loadtest/lib

FROM base AS loadtest
COPY --from=build-loadtest /opt/loadtest /opt/loadtest
ENV PATH=/opt/loadtest/bin:/usr/local/bin:/usr/bin:/bin
COPY loadtest/locustfile.py /app/locustfile.py
COPY loadtest/jambonz_load /app/jambonz_load
# A volume that is mounted here gets the owner of this folder.
USER root
RUN install -d -o 10001 -g 10001 /reports
USER 10001:10001
ENTRYPOINT ["/opt/loadtest/bin/dumb-init", "--", "locust"]
EXPOSE 8089
CMD ["-f", "/app/locustfile.py"]

# Scalescope for others: docs/operations.md says how it is run, and with which limits.
FROM python:3.12.12-slim-bookworm

# Triton's interpreter builds nothing; a GPU needs a compiler, and an image with CUDA in place of this.
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    OMP_WAIT_POLICY=passive \
    SCALESCOPE_CALIBRATIONS=/data/calibrations \
    SCALESCOPE_RESULTS=/data/results \
    SCALESCOPE_ROOTS=/models \
    SCALESCOPE_HUB=0 \
    HF_HOME=/data/huggingface

WORKDIR /srv/scalescope
COPY requirements.txt ./
RUN python -m pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && python -m pip install -r requirements.txt
COPY . ./
# Compiled once, since the server's user may write nothing here.
RUN python -m compileall -q app.py dashboard kernels \
    && useradd --system --create-home --uid 10001 scalescope \
    && mkdir --parents /data /models \
    && chown scalescope: /data
USER 10001
VOLUME /data
EXPOSE 8501

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/_stcore/health').close()"]
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.headless=true", "--server.address=0.0.0.0", "--server.port=8501"]

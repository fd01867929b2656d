#!/bin/sh
# Write deploy/requirements.txt and deploy/build-requirements.txt. $1: the command uv.
set -eu
cd "$(dirname "$0")/.."
compile() { # source, target, what it is
  "$UV" pip compile "$1" --quiet --constraint deploy/constraints.txt --generate-hashes \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate >"$2.new"
  {
    echo "# $3"
    echo "# \`make requirements\` writes this file. Every file of every package has its hash."
    cat "$2.new"
  } >"$2"
  rm "$2.new"
}
UV=$1
compile pyproject.toml deploy/requirements.txt \
  "The packages of the image, at the versions of constraints.txt."
compile deploy/build-requirements.in deploy/build-requirements.txt \
  "The packages that build the image and write its SBOM. They are not in the image."

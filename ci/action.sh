#!/usr/bin/env bash
# The steps of action.yml, one a word. What they are told comes from the environment.
set -euo pipefail

# Puts slimpack on the PATH of the steps to come: nothing else of its environment, which is not that of the job.
install() {
  local room=$RUNNER_TEMP/slimpack-program
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "slimpack needs Python 3.11 or newer: put actions/setup-python before this step"
  python3 -m venv "$room/venv"
  "$room/venv/bin/python" -m pip --disable-pip-version-check --no-input install --quiet "$GITHUB_ACTION_PATH"
  mkdir -p "$room/bin"
  ln -sf "$room/venv/bin/slimpack" "$room/bin/slimpack"
  echo "$room/bin" >>"$GITHUB_PATH"
}

# Builds the bundle; one that is over its limit, or that does not run, is judged all the same.
build() {
  cd "$INPUT_WORKING_DIRECTORY"
  local made=$INPUT_BUNDLE code=0 failed
  if [[ -n $INPUT_REQUIREMENTS ]]; then
    options "$INPUT_BUILD_OPTIONS"
    unheard slimpack build "$INPUT_REQUIREMENTS" "${given[@]}" --output "$INPUT_BUNDLE" || code=$?
    ((code <= 1)) || exit "$code"
    made=$(manifest_of "$INPUT_BUNDLE")
    failed=$(manifest_of "$INPUT_BUNDLE" .failed)
    if [[ -e $failed ]]; then made=$failed; fi
  fi
  output subject "$made"
}

# Finds or builds what the bundle is compared with. Without one, growth that has a budget is no pass: check says so.
base() {
  cd "$INPUT_WORKING_DIRECTORY"
  local baseline=$INPUT_BASELINE commit=$INPUT_BASE_COMMIT reference=$INPUT_BASE_REF parting=""
  if [[ $reference =~ ^0+$ ]]; then reference=HEAD^; fi # as events have it when a branch is new
  if [[ -n $reference ]] && { [[ -z $baseline && -n $INPUT_REQUIREMENTS ]] || [[ -n $baseline && -n $commit ]]; }; then
    parting=$(git merge-base HEAD "$(commit_of "$reference")") ||
      warn "no commit that HEAD and the base have in common is here: check out with fetch-depth: 0"
  fi
  if [[ -z $baseline && -n $parting ]]; then
    commit=$parting
    build_base "$commit"
  fi
  output baseline "$baseline"
  output commit "$commit"
  output merge-base "$parting"
}

build_base() {
  local commit=$1 code=0 tree place made
  tree=$(mktemp -d "$RUNNER_TEMP/slimpack-base.XXXXXX")
  place=$tree/checkout/$(git rev-parse --show-prefix)
  made=$tree/base-${commit:0:7}
  git worktree add --quiet --detach "$tree/checkout" "$commit"
  if [[ -e $place$INPUT_REQUIREMENTS ]]; then
    options "$INPUT_BUILD_OPTIONS"
    (cd "$place" && unheard slimpack build "$INPUT_REQUIREMENTS" "${given[@]}" --output "$made.zip" --no-verify --quiet) ||
      code=$?
    if [[ -e $made.manifest.json ]]; then
      baseline=$made.manifest.json
    else
      warn "the base, $commit, cannot be built (exit code $code): there is nothing to compare with"
    fi
  else
    echo "the base, $commit, has no $INPUT_REQUIREMENTS: there is nothing to compare with"
  fi
  git worktree remove --force "$tree/checkout"
}

# Judges the bundle: a log, annotations, the summary of the step, reports, outputs.
review() {
  cd "$INPUT_WORKING_DIRECTORY"
  local folder=$RUNNER_TEMP/slimpack/$INPUT_KEY code=0 place
  place=$(git rev-parse --show-prefix 2>/dev/null || true)
  if [[ $INPUT_REQUIREMENTS == */* ]]; then place+=${INPUT_REQUIREMENTS%/*}/; fi
  mkdir -p "$folder"
  judge
  if [[ $INPUT_EXIT_ZERO == true ]]; then given+=(--exit-zero); fi
  unheard slimpack check "${given[@]}" --folder "$place" \
    --report "markdown=$folder/comment.md" --report "html=$folder/report.html" --report "json=$folder/review.json" \
    --report "sarif=$folder/review.sarif" --report "junit=$folder/review.xml" \
    --report "summary=$folder/summary.md" --report "github=$folder/annotations.txt" -- "$SUBJECT" || code=$?
  ((code <= 1)) || exit "$code"
  cat "$folder/annotations.txt"
  cat "$folder/summary.md" >>"$GITHUB_STEP_SUMMARY"
  rm "$folder/annotations.txt" "$folder/summary.md"
  keep "$SUBJECT" "$folder/head.manifest.json"
  keep "$BASELINE" "$folder/base.manifest.json"
  output code "$code"
  output folder "$folder"
  output report-path "$folder/report.html"
  output comment-body "$(<"$folder/comment.md")"
  figures "$folder/review.json"
}

# Comments on the pull request, unless it comes from a fork: the token of such a run may only read.
comment() {
  cd "$INPUT_WORKING_DIRECTORY"
  if [[ $HEAD_REPOSITORY != "$GITHUB_REPOSITORY" ]]; then
    echo "::notice title=slimpack::no comment, as the pull request comes from a fork: docs/ci.md tells how to comment there"
    return
  fi
  judge
  slimpack comment github "${given[@]}" ${INPUT_THRESHOLD:+--threshold "$INPUT_THRESHOLD"} -- "$SUBJECT"
}

verdict() {
  exit "$CHECKED"
}

# Sets `given` to the arguments of a verb that judges.
judge() {
  options "$INPUT_BUDGET_OPTIONS"
  given+=(--key "$INPUT_KEY")
  if [[ -n $BASELINE ]]; then given+=(--baseline "$BASELINE"); fi
  if [[ -n $BASELINE && -n $MERGE_BASE ]]; then given+=(--base-commit "$BASE_COMMIT" --merge-base "$MERGE_BASE"); fi
}

# Sets `given` to the options in a text: one a line, its value behind the first blank.
options() {
  local line
  given=()
  while read -r line; do
    if [[ $line == -*[[:blank:]]* ]]; then
      given+=("${line%%[[:blank:]]*}")
      line=${line#*[[:blank:]]}
    fi
    if [[ -n $line ]]; then given+=("$line"); fi
  done <<<"$1"
}

# Writes where a build puts the manifest of a bundle.
manifest_of() {
  echo "${1%.zip}${2-}.manifest.json"
}

# Copies the manifest of a bundle, if it has one, to where a second workflow looks for it.
keep() {
  local manifest=$1
  [[ $manifest == *.json ]] || manifest=$(manifest_of "$1")
  if [[ -f $manifest ]]; then cp -- "$manifest" "$2"; fi
}

commit_of() {
  git rev-parse --quiet --verify --end-of-options "$1^{commit}"
}

# Hands on the status and the sizes of a review.
figures() {
  python3 - "$1" >>"$GITHUB_OUTPUT" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    review = json.load(file)
print(f"status={review['status']}")
print(f"total-bytes={review['bundle']['size']}")
print(f"delta-bytes={review['diff']['delta'] if 'diff' in review else ''}")
PYTHON
}

# Hands on a value; what is random ends it, so that no text of its own can.
output() {
  local end
  end=$(nonce)
  printf '%s<<%s\n%s\n%s\n' "$1" "$end" "$2" "$end" >>"$GITHUB_OUTPUT"
}

# Runs a command; what looks like a workflow command in its output is none.
unheard() {
  local end code=0
  end=$(nonce)
  echo "::stop-commands::$end"
  "$@" || code=$?
  echo "::$end::"
  return "$code"
}

nonce() {
  od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

warn() {
  echo "::warning title=slimpack::$1"
}

fail() {
  echo "::error title=slimpack::$1"
  exit 2
}

"$1"

#!/bin/sh
# What a pipeline does with lyrox, one step after the other: the GitHub action, the workflow and the GitLab recipe
# all run this file. It stops at the first step that fails, with that step's exit code.
#
#   ci/lyrox-ci.sh [STEP ...]         default: check lint rehearse migrate smoke
#
#   servers    real local servers for the stores whose URL is not set
#   check      every store's connection, stage by stage; waits for servers that still start
#   lint       the migrations that are new since the base
#   rehearse   what is pending, tried on throw-away servers
#   migrate    what is pending; afterwards nothing may be pending
#   seed       the seed set
#   expect     check again, with what [[check.expect]] says should be there
#   smoke      built-in and declared tests
#
# Each step writes LYROX_REPORTS/STEP.xml (JUnit). On a GitHub runner failures become annotations and the summary of
# the job. Connection URLs come from the environment under the names in lyrox.toml; none is ever an argument.
#
#   LYROX            the binary                                    lyrox
#   LYROX_ENV        the environment: [env.NAME] of lyrox.toml     local
#   LYROX_DIR        the project's folder                          .
#   LYROX_REPORTS    where the JUnit files go                      lyrox-reports
#   LYROX_BASE       lint what is new since this revision          the target branch, or the push before
#   LYROX_WAIT       how long servers may take to start            60s
set -eu

lyrox=${LYROX:-lyrox}
reports=${LYROX_REPORTS:-lyrox-reports}
mkdir -p "$reports"
reports=$(cd "$reports" && pwd)
cd "${LYROX_DIR:-.}"
# Every command reads LYROX_ENV itself; one that is set and empty is none.
[ -n "${LYROX_ENV:-}" ] || unset LYROX_ENV

output=human
[ "${GITHUB_ACTIONS:-}" = true ] && output=github

# run NAME COMMAND...: one command with its report as a file.
run() {
    name=$1
    shift
    echo "--- lyrox $*"
    "$lyrox" --no-input --color never --output "$output" --output-file "$reports/$name.xml" "$@"
}

base() {
    if [ -n "${LYROX_BASE:-}" ]; then
        echo "$LYROX_BASE"
    elif [ -n "${GITHUB_BASE_REF:-}" ]; then
        echo "origin/$GITHUB_BASE_REF"
    elif [ -n "${CI_MERGE_REQUEST_DIFF_BASE_SHA:-}" ]; then
        echo "$CI_MERGE_REQUEST_DIFF_BASE_SHA"
    else
        echo "${CI_COMMIT_BEFORE_SHA:-}"
    fi
}

step() {
    case $1 in
    servers) run servers up ;;
    check) run check check --connections --wait "${LYROX_WAIT:-60s}" ;;
    lint)
        since=$(base)
        case $since in
        *[!0]*) run lint db lint --base "$since" ;;
        # The first push of a branch has no revision before it: forges write zeros.
        *) run lint db lint ;;
        esac
        ;;
    rehearse) run rehearse db rehearse ;;
    migrate)
        run migrate db migrate
        run status db status --check
        ;;
    seed) run seed db seed ;;
    expect) run expect check ;;
    smoke) run smoke db smoke-test ;;
    *)
        echo "lyrox-ci: no step is called '$1'" >&2
        exit 2
        ;;
    esac
}

[ $# -gt 0 ] || set -- check lint rehearse migrate smoke
for name in "$@"; do
    step "$name"
done

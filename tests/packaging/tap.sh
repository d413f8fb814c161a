# SPDX-License-Identifier: MIT
# tap.sh - TAP for the scripts beside it, which source it. They work on a copy of nothing: the tree itself, and $work.
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0
failed=0
unset DESTDIR PREFIX MAKEFLAGS MFLAGS MAKELEVEL

check() { # WHAT COMMAND...: a case; what the command says is shown when it fails
	local what=$1 status=0
	shift
	number=$((number + 1))
	"$@" >"$work/said" 2>&1 </dev/null || status=$?
	if [ $status = 0 ]; then
		echo "ok $number - $what"
	else
		echo "not ok $number - $what: status $status"
		tail -n 25 "$work/said" | sed 's/^/# /'
		failed=1
	fi
}

end() {
	echo "1..$number"
	exit $failed
}

# FILE: the first program of README.md in C that has a main()
readme_example() {
	awk '/^```c$/ { text = ""; inside = 1; next }
	     /^```$/ && inside { if (text ~ /int main/) { printf "%s", text; exit } inside = 0 }
	     inside { text = text $0 "\n" }' "$root/README.md" >"$1"
	grep -q 'int main' "$1"
}

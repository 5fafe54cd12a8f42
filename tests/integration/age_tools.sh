#!/usr/bin/env bash
# What stock age and age-keygen make, we read, and they read what we make; what is damaged nobody gets a byte of.
# shellcheck source=../lib/t.sh
. tests/lib/t.sh

HOLDFAST=${HOLDFAST:-$PWD/build/holdfast}
probe=${HOLDFAST_BUILD:-$PWD/build}/tests/integration/age_probe
unset "${!HOLDFAST_@}"
export HOME=$T_TMP
place=$T_TMP/place
mkdir "$place"
public() { age-keygen -y "$1"; }
json() { grep -oE "\"$1\": (\"[^\"]*\"|[^,]*)" <<<"$t_out" | head -n 1 | sed 's/^[^:]*: //; s/^"//; s/"$//'; }

# content BYTES: that many, of which no two chunks are the same
content() { seq 10000000 | head -c "$1"; }

t_begin keygen_makes_what_age_keygen_makes
t_exit 0 "$HOLDFAST" keygen --file "$T_TMP/ours"
ours=$t_out
t_match "$ours" '^age1[a-z0-9]{58}$' 'the public key alone on standard output'
t_is "$(public "$T_TMP/ours")" "$ours" 'age-keygen reads the file'
t_is "$(stat -c %a "$T_TMP/ours")" 600
t_match "$(cat "$T_TMP/ours")" $'^# created: [0-9TZ:-]+\n# public key: '"$ours"$'\nAGE-SECRET-KEY-1[A-Z0-9]{58}$'
t_ok age-keygen -o "$T_TMP/theirs"
theirs=$(public "$T_TMP/theirs")
t_exit 0 "$HOLDFAST" keygen --public "$T_TMP/theirs"
t_is "$t_out" "$theirs" 'we read the file of age-keygen'
cat "$T_TMP/ours" "$T_TMP/theirs" >"$T_TMP/both"
t_exit 0 "$HOLDFAST" keygen -y "$T_TMP/both"
t_is "$t_out" "$ours"$'\n'"$theirs"
t_exit 0 "$HOLDFAST" keygen
t_match "$t_out" '^# created: .*AGE-SECRET-KEY-1' 'without a file to standard output'
t_is "$(public - <<<"$t_out")" "$(sed -n 's/^# public key: //p' <<<"$t_out")"

t_begin keygen_overwrites_nothing
before=$(sha256sum <"$T_TMP/ours")
t_exit 2 "$HOLDFAST" keygen -o "$T_TMP/ours"
t_is "$t_out" ''
t_is "$t_err" "error:  file \"$T_TMP/ours\" exists already
hint:   Name another file: what was encrypted to a key can be read with that key alone."
t_is "$(sha256sum <"$T_TMP/ours")" "$before" 'the key is what it was'
ln -s "$T_TMP/nowhere" "$T_TMP/link"
t_exit 2 "$HOLDFAST" keygen -o "$T_TMP/link"
[ ! -e "$T_TMP/nowhere" ]
t_is $? 0 'nor does it follow a link'
t_exit 1 "$HOLDFAST" keygen -o "$T_TMP/none/key"
t_is "$t_err" "error:  could not create file \"$T_TMP/none/key\": No such file or directory"
t_exit 2 "$HOLDFAST" keygen -o "$T_TMP/x" -y "$T_TMP/ours"
t_is "$t_err" 'error:  options "--file" and "--public" cannot be combined'
t_exit 2 "$HOLDFAST" keygen -y "$T_TMP/x"
t_is "$t_err" "error:  file \"$T_TMP/x\" does not exist"
echo "$ours" >"$T_TMP/public"
t_exit 2 "$HOLDFAST" keygen -y "$T_TMP/public"
t_is "$t_err" "error:  line 1 of file \"$T_TMP/public\" is no identity: it is a public key, not a secret one"

t_begin keygen_as_json
t_exit 0 "$HOLDFAST" --output json keygen -o "$T_TMP/json"
t_is "$(json public_key)" "$(public "$T_TMP/json")"
t_is "$(json file)" "$T_TMP/json"
t_nomatch "$t_out$t_err" 'AGE-SECRET' 'the secret is in the file alone'
t_exit 0 "$HOLDFAST" --output json keygen
t_is "$(public - <<<"$(json secret_key)")" "$(json public_key)"
t_exit 0 "$HOLDFAST" --output json keygen -y "$T_TMP/ours"
t_match "$t_out" "\"public_keys\": [^a]*\"$ours\""

t_begin age_reads_what_we_write
for n in 0 1 65535 65536 65537 131072 983040 983041 5000000; do
	content "$n" >"$T_TMP/plain"
	"$probe" put "$place" "x$n" -r "$ours" -r "$theirs" <"$T_TMP/plain"
	for key in ours theirs; do
		t_is "$(age -d -i "$T_TMP/$key" "$place/x$n.age" | sha256sum)" "$(sha256sum <"$T_TMP/plain")" "$n bytes by $key"
	done
done
t_exit 1 age -d -i "$T_TMP/json" "$place/x1.age"

t_begin we_read_what_age_writes
for n in 0 1 65535 65536 65537 131072 5000000; do
	content "$n" >"$T_TMP/plain"
	age -r "$theirs" -r "$(public "$T_TMP/json")" -r "$ours" <"$T_TMP/plain" >"$place/y$n.age"
	for key in ours theirs; do
		t_is "$("$probe" get "$place" "y$n" -i "$T_TMP/$key" | sha256sum)" "$(sha256sum <"$T_TMP/plain")" "$n bytes by $key"
	done
done
t_is "$("$probe" get "$place" y5000000 -i "$T_TMP/json" -b 70001 | sha256sum)" "$(sha256sum <"$T_TMP/plain")" 'in odd blocks'
t_is "$("$probe" range "$place" y5000000 1234567 345678 -i "$T_TMP/both" | sha256sum)" \
	"$(tail -c +1234568 "$T_TMP/plain" | head -c 345678 | sha256sum)" 'a range'

t_begin passphrases_both_ways
export PASSPHRASE='correct horse battery staple'
"$probe" put "$place" p -P PASSPHRASE <"$T_TMP/plain"
# age asks on a terminal
type_passphrase() { printf '%s\n%s\n' "$PASSPHRASE" "$PASSPHRASE" | script -qec "$1" /dev/null >"$T_TMP/typescript"; }
type_passphrase "age -d -o '$T_TMP/got' '$place/p.age'"
t_is "$(sha256sum <"$T_TMP/got")" "$(sha256sum <"$T_TMP/plain")" 'age reads ours'
type_passphrase "age -p -o '$place/q.age' '$T_TMP/plain'"
t_is "$("$probe" get "$place" q -P PASSPHRASE | sha256sum)" "$(sha256sum <"$T_TMP/plain")" 'we read what age wrote'
PASSPHRASE=wrong t_exit 2 "$probe" get "$place" p -P PASSPHRASE
t_is "$t_err" 'error:  object "p.age" is encrypted with another passphrase'
t_exit 2 "$probe" get "$place" p -i "$T_TMP/ours"
t_is "$t_err" 'error:  object "p.age" is encrypted with a passphrase, and none is given'

t_begin the_wrong_key_is_no_damage
t_exit 2 "$probe" get "$place" x1 -i "$T_TMP/json"
t_is "$t_out" ''
t_is "$t_err" 'error:  object "x1.age" is encrypted to other keys
hint:   Name the identity of one of the recipients it was encrypted to.'
t_exit 2 "$probe" get "$place" x1
t_is "$t_out" ''
t_is "$t_err" 'error:  object "x1.age" is encrypted, and no identity is given to read it with
hint:   Name the identity of one of the recipients it was encrypted to.'

t_begin armor_is_refused
age -a -r "$ours" <"$T_TMP/plain" >"$place/armored.age"
t_exit 2 "$probe" get "$place" armored -i "$T_TMP/ours"
t_is "$t_err" $'error:  object "armored.age" is armored, which is not supported\nhint:   "age -d" reads it.'

# Three chunks, the last one of 100 bytes.  Every case leaves at most whole chunks on standard output, and those are right.
content 131172 >"$T_TMP/plain"
"$probe" put "$place" whole -r "$ours" <"$T_TMP/plain"
size=$(stat -c %s "$place/whole.age")
head=$((size - 131172 - 3 * 16))
damaged=$place/damaged.age
# flip OFFSET: another bit in that byte
flip() {
	local byte
	byte=$(od -An -tu1 -j "$1" -N 1 "$damaged")
	printf '%b' "\\x$(printf %x $((byte ^ 4)))" | dd of="$damaged" bs=1 seek="$1" conv=notrunc status=none
}
# t_damage STATUS GIVEN MESSAGE LABEL
t_damage() {
	t_run "$probe" get "$place" damaged -i "$T_TMP/ours" -b 65536
	t_is "$t_status: $(head -n 1 <<<"$t_err")" "$1: error:  $3" "$4"
	t_is "$(stat -c %s "$T_TMP/.out")" "$2" "$2 bytes given out"
	cmp -s -n "$2" "$T_TMP/.out" "$T_TMP/plain" || t_fail 'what is given out is right'
}

t_begin what_is_cut_off_is_told
cp "$place/whole.age" "$damaged"
t_exit 0 "$probe" get "$place" damaged -i "$T_TMP/ours" -b 65536
t_is "$(sha256sum <"$T_TMP/.out")" "$(sha256sum <"$T_TMP/plain")" 'intact, it is read'
object='object "damaged.age"'
while read -r keep given message; do
	head -c "$keep" "$place/whole.age" >"$damaged"
	t_damage 3 "$given" "$object $message" "cut at $keep"
done <<END
0 0 is cut off within its header
1 0 is cut off within its header
21 0 is cut off within its header
22 0 is cut off within its header
$((head - 17)) 0 is cut off within its header
$((head - 16)) 0 is cut off within its header
$((head - 1)) 0 is cut off within its header
$head 0 is cut off behind its header
$((head + 1)) 0 is cut off, or has something behind its end
$((head + 16)) 0 is damaged: a chunk does not match its checksum
$((head + 17)) 0 is damaged: a chunk does not match its checksum
$((head + 65551)) 0 is damaged: a chunk does not match its checksum
$((head + 65552)) 0 is cut off
$((head + 65553)) 0 is cut off, or has something behind its end
$((head + 2 * 65552)) 65536 is cut off
$((head + 2 * 65552 + 16)) 0 is cut off, or has something behind its end
$((size - 1)) 131072 is damaged: a chunk does not match its checksum
END

t_begin what_is_appended_is_told
while read -r more given message; do
	{ cat "$place/whole.age" && content "$more"; } >"$damaged"
	t_damage 3 "$given" "$object $message" "$more more"
done <<END
1 131072 is damaged: a chunk does not match its checksum
65436 131072 is damaged: a chunk does not match its checksum
65437 0 is cut off, or has something behind its end
65453 131072 is damaged: a chunk does not match its checksum
END
# behind a last chunk that is full, the mark tells what is wrong
"$probe" put "$place" full -r "$ours" <<<"$(content 65536 | head -c 49151 | base64 -w 0 | head -c 65535)"
cp "$place/full.age" "$damaged"
t_exit 0 "$probe" get "$place" damaged -i "$T_TMP/ours"
t_is "$(stat -c %s "$T_TMP/.out")" 65536 'intact, it is read'
content 100 >>"$damaged"
t_damage 3 0 "$object has something behind its end" '100 more'

t_begin a_flipped_bit_anywhere_is_told
while read -r at given message; do
	cp "$place/whole.age" "$damaged"
	flip "$at"
	t_damage 3 "$given" "$message" "byte $at"
done <<END
0 0 $object is no age file
20 0 the header of $object is damaged: it is not of version 1 of the age format
$((head - 17)) 0 the header of $object is damaged: line 4 is not the end that it should be
$((head - 1)) 0 $object is damaged: a chunk does not match its checksum
$head 0 $object is damaged: a chunk does not match its checksum
$((head + 65551)) 0 $object is damaged: a chunk does not match its checksum
$((head + 65552)) 65536 $object is damaged: a chunk does not match its checksum
$((head + 2 * 65552)) 131072 $object is damaged: a chunk does not match its checksum
$((size - 1)) 131072 $object is damaged: a chunk does not match its checksum
END
# a digit of the checksum for another digit
for digit in A B; do
	cp "$place/whole.age" "$damaged"
	printf %s $digit | dd of="$damaged" bs=1 seek=$((head - 30)) conv=notrunc status=none
	cmp -s "$place/whole.age" "$damaged" || t_damage 3 0 "the header of $object is damaged: it does not match its checksum" "digit $digit"
done
bad='' statuses=''
for ((at = 0; at < head; at++)); do
	cp "$place/whole.age" "$damaged"
	flip "$at"
	t_run "$probe" get "$place" damaged -i "$T_TMP/ours"
	statuses+=$t_status
	if [[ $t_status != [23] ]] || [ -s "$T_TMP/.out" ] || ! grep -q 'damaged.age' <<<"$t_err"; then
		bad+=" $at:$t_status"
	fi
done
t_is "$bad" '' 'any byte of the header: refused, and nothing given out'
t_match "$statuses" '3.*2.*3' 'as damage, or as made for others'

#!/bin/sh
# Print the ACL file of the store with digests of the passwords:
#
#   sh deploy/redis/users.sh secrets > secrets/users.acl
#   sh deploy/redis/users.sh secrets staging > secrets/users.acl      with redis.namespace: staging
#
#   SCRIPTS=1 sh deploy/redis/users.sh secrets > secrets/users.acl    while sidecars or meters of a version before
#                                                                     functions run: see docs/upgrade.md
#
#   PARTITIONS=8 sh deploy/redis/users.sh secrets > secrets/users.acl         with redis.partitions: 8 or 48
#
# secrets/sidecar is the password of authz-sidecar, and so on; secrets/meter is needed only with a meter.
# If secrets/sidecar.old exists, the store
# accepts that password, too, until the new one has arrived everywhere.
set -eu
digests() {
  test -s "$1"
  for file in "$1" "$1.old"; do
    test ! -e "$file" || printf ' #%s' "$(sha256sum <"$file" | cut -c 1-64)"
  done
}
echo "user default off"
passwords=$(digests "$1/operator")
echo "user operator on$passwords ~* &* +@all"
while read -r word user rules; do
  test "$user" != authz-meter || test -e "$1/meter" || continue # without usage there is no meter
  passwords=$(digests "$1/${user#authz-}")
  case "${SCRIPTS:-}$user" in
    1authz-sidecar | 1authz-meter) rules=$(printf "%s" "$rules" | sed "s/-@all/-@all +script|load/; s/+fcall/+fcall +evalsha/g") ;;
  esac
  test "${PARTITIONS:-1}" = 1 || rules=$(printf '%s' "$rules" | sed "s/{0}/{*}/g")
  test -z "${2:-}" || rules=$(printf '%s' "$rules" | sed "s/\([~&]\)authz:/\1$2:authz:/g")
  echo "$word $user$passwords $rules"
done <"$(dirname "$0")/users.acl"

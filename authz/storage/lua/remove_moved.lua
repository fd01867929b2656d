-- Remove names whose content was moved, and let the lists of freeze.lua expire.
-- The lists stay for some weeks, so that a process that does not know of the move changes nothing.
--
-- KEYS  1 the lease of the run  2.. names
-- ARGV  1 holder of the lease  2 ms for which lists stay
-- Returns 1, or 0 if the lease is not held any more; then nothing was done.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
for at = 2, #KEYS do
  if redis.call('TYPE', KEYS[at])['ok'] ~= 'list' then
    redis.call('UNLINK', KEYS[at])
  elseif redis.call('PTTL', KEYS[at]) < 0 then
    redis.call('PEXPIRE', KEYS[at], ARGV[2])
  end
end
return 1

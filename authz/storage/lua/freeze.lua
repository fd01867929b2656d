-- Freeze a store: set names aside, and put a list in the place of each.
-- No data is a list, so every script and command that uses such a name fails. Names that are aside
-- stay as they are, so it can be repeated.
--
-- KEYS  1 the lease of the run  2.. names
-- ARGV  1 holder of the lease  2 text in the lists  3.. for each name the one that it gets
-- Returns 1, or 0 if the lease is not held any more; then nothing was done.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
for at = 2, #KEYS do
  local name, aside = KEYS[at], ARGV[at + 1]
  local kind = redis.call('TYPE', name)['ok']
  if kind ~= 'list' then
    if kind ~= 'none' and redis.call('EXISTS', aside) == 0 then
      redis.call('RENAME', name, aside)
    elseif kind ~= 'none' then
      redis.call('DEL', name)
    end
    redis.call('RPUSH', name, ARGV[2])
  end
end
return 1

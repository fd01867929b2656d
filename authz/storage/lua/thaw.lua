-- Undo freeze.lua: remove the lists, and put back what is aside. It can be repeated.
--
-- KEYS  1 the lease of the run  2.. names
-- ARGV  1 holder of the lease  2.. for each name the one that it has aside
-- Returns 1, or 0 if the lease is not held any more; then nothing was done.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
for at = 2, #KEYS do
  local name, aside = KEYS[at], ARGV[at]
  if redis.call('EXISTS', aside) == 1 then
    redis.call('RENAME', aside, name)
  elseif redis.call('TYPE', name)['ok'] == 'list' then
    redis.call('DEL', name)
  end
end
return 1

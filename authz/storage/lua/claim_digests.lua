-- Claim the digests of imported keys for the partition that is about to have them.
-- A claim of another partition stays. With 0 seconds the claims of this partition are given up.
-- KEYS: claim:<digest> each   ARGV: seconds, and the number of the partition for each of KEYS
-- Returns for each of KEYS the number of the partition that has the claim.
local holders = {}
for i, name in ipairs(KEYS) do
  local wanted = ARGV[i + 1]
  local holder = redis.call('GET', name)
  if ARGV[1] == '0' then
    if holder == wanted then
      redis.call('DEL', name)
    end
  elseif not holder or holder == wanted then
    holder = wanted
    redis.call('SET', name, wanted, 'EX', ARGV[1])
  end
  holders[i] = holder
end
return holders

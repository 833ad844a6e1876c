-- Purpose: what a step's handler sends is stored in the script that records its output. KEYS: from 3 as _message, from 12 nine for each message. ARGV: 11 options, 12 how many, then
--          four for each.
-- Returns: what `post` returns, in a list. A recipient that is gone by now does not undo the step: it gets `lost`.
local function send_along()
  with_messages(2, 11)
  local posted = {}
  for i = 0, ARGV[12] - 1 do
    local wrong = refused(1, 12 + 9 * i, 13 + 4 * i)
    posted[#posted + 1] = wrong and {'', 'lost', 0, '', 0, ''} or post(12 + 9 * i, 13 + 4 * i)
  end
  return posted
end

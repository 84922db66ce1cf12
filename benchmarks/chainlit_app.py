"""A chat on Chainlit as its documentation shows it: OpenAI's client, streamed token by token.

Runs in Chainlit's environment: `chainlit run chainlit_app.py`.
"""

import chainlit as cl
from openai import AsyncOpenAI

client = AsyncOpenAI()


@cl.on_message
async def on_message(message: cl.Message) -> None:
    answer = cl.Message(content="")
    stream = await client.chat.completions.create(
        model="bench", messages=[{"role": "user", "content": message.content}], stream=True
    )
    async for part in stream:
        if part.choices and (token := part.choices[0].delta.content):
            await answer.stream_token(token)
    await answer.send()
